import os

from celery.schedules import crontab
from kombu import Exchange, Queue

broker_url = os.environ.get("SHOP_BROKER", "redis://localhost/0")
result_backend = os.environ.get("SHOP_RESULTS", broker_url)
result_expires = 3600
result_extended = True

accept_content = ["json", "pickle"]
timezone = "Europe/Vienna"
worker_hijack_root_logger = False

task_default_queue = "orders"
task_queues = (
    Queue("orders", Exchange("orders"), routing_key="orders"),
    Queue("mail", Exchange("media", type="direct"), routing_key="mail"),
)
task_routes = {"shop.tasks.send_mail": {"queue": "mail"}, "shop.reports.*": "orders"}
task_annotations = {"shop.tasks.limited": {"rate_limit": "100/s"}}

beat_schedule = {
    "nightly-report": {
        "task": "shop.tasks.add",
        "schedule": crontab(hour=3, minute=30, day_of_week="mon-fri"),
        "args": (1, 1),
    },
    "often": {"task": "shop.tasks.add", "schedule": 30.0, "args": (2, 2)},
}
