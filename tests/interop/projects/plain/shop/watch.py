"""Signals, and a remote command of our own."""

from celery import signals
from celery.worker.control import control_command, inspect_command

from .tasks import note


@signals.task_prerun.connect(sender="shop.tasks.never")
def of_another_task(**kwargs):
    note("signal prerun never")


@signals.task_prerun.connect
def before(sender=None, task_id=None, task=None, args=None, kwargs=None, **_):
    if task.name == "shop.tasks.reserve":
        note(f"signal prerun {sender.name} {args} {kwargs}")


@signals.task_postrun.connect
def after(sender=None, task_id=None, retval=None, state=None, **_):
    if sender.name == "shop.tasks.reserve":
        note(f"signal postrun {state} {retval if state == 'SUCCESS' else type(retval).__name__}")


@signals.task_failure.connect
def failed(sender=None, task_id=None, exception=None, einfo=None, **_):
    note(f"signal failure {sender.name} {type(exception).__name__}")


@signals.task_retry.connect
def retried(sender=None, request=None, reason=None, einfo=None, **_):
    note(f"signal retry {sender.name} {type(reason).__name__}")


@signals.worker_ready.connect
def ready(sender=None, **_):
    note("signal worker_ready")


@signals.worker_process_init.connect
def child(**_):
    note("signal worker_process_init")


@control_command(args=[("percent", int)], signature="<percent>")
def set_discount(state, percent):
    """Set the discount"""
    state.app.tasks["shop.tasks.Discount"].rate = percent
    return {"ok": f"discount {percent}"}


@inspect_command()
def shop_name(state):
    return {"shop": state.app.main}
