from celery import Celery
from celery.schedules import crontab

app = Celery("shop", include=["shop.tasks", "shop.watch"])
app.config_from_object("shop.settings")


@app.on_after_configure.connect
def add_periodic(sender, **kwargs):
    sender.add_periodic_task(
        crontab(minute="*/5"), sender.signature("shop.tasks.add", (3, 3)), name="every five minutes"
    )


if __name__ == "__main__":
    app.start()
