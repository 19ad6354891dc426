#!/bin/sh
# A day of an operator, written for Celery's command line. It is run as it stands with `celery`
# being Celery's program, and once more with `celery` being taskctl's; what it prints is compared.
set -u
host=$(hostname)
say() { echo "== $*"; }
templates="--pidfile=run/%n.pid --logfile=log/%n%I.log"

say names
celery multi names 3 -n "$host" | tail -3
celery multi names a b@x --suffix=elsewhere | tail -2
celery multi expand %n.pid a b -n "$host" | tail -2

say start
celery -A proj multi start 2 -c 1 -l INFO $templates -Q:1 celery,images -Q:2 celery >start.txt
echo "exit $?"
grep -c OK start.txt
tries=0
until [ "$(celery -A proj status 2>/dev/null | grep -c ': OK')" = 2 ] || [ $tries = 60 ]; do
    tries=$((tries + 1))
done
ls run

say status
celery -A proj status | grep -o ': OK'
celery -A proj status >/dev/null; echo "exit $?"

say ping
celery -A proj inspect ping | sort
celery -A proj inspect ping -j | jq -S .
celery -A proj inspect -t 2 -d "celery1@$host" ping -j | jq -S .
celery -A proj inspect ping -d "nobody@$host" -t 0.5 >none.txt 2>&1; echo "exit $?"

say tasks
celery -A proj inspect registered -j | jq -S 'map_values(map(split(" ")[0]))'
celery -A proj inspect active_queues -j | jq -S 'map_values(map(.name) | sort)'
celery -A proj inspect active | sort
celery -A proj inspect scheduled -j | jq -S .
celery -A proj inspect revoked -j | jq -S .
celery -A proj inspect stats -j | jq -S 'keys'
celery -A proj inspect stats -j | jq -S 'map_values(.pool["max-concurrency"])'
celery -A proj inspect conf -j | jq -S 'map_values(.task_default_queue)'

say control
celery -A proj control rate_limit proj.add 10/m | sort
celery -A proj control rate_limit proj.add 10/m -j | jq -S 'map(map_values(.ok)) | add'
celery -A proj control rate_limit proj.nosuch 10/m -j | jq -S 'map(map_values(has("error"))) | add'
celery -A proj control rate_limit proj.add 0 -j >/dev/null
celery -A proj control -d "celery2@$host" add_consumer video
celery -A proj inspect active_queues -d "celery2@$host" -j | jq -S 'map_values(map(.name) | sort)'
celery -A proj control cancel_consumer video -d "celery2@$host" -j | jq -S 'map(map_values(.ok)) | add'
celery -A proj control time_limit proj.add 20 30 -j | jq -S 'map(map_values(.ok)) | add'
celery -A proj control pool_grow 1 -d "celery1@$host" | tail -1
celery -A proj control enable_events -d "celery1@$host" -j | jq -S 'map(map_values(.ok)) | add'

say call
id=$(celery -A proj call proj.add -a '[2, 3]')
echo "$id" | wc -c
tries=0
until celery -A proj result "$id" >result.txt 2>/dev/null || [ $tries = 60 ]; do
    tries=$((tries + 1))
done
cat result.txt
celery -A proj call proj.add -a '[1, 1]' --queue parked >/dev/null; echo "exit $?"
celery -A proj call proj.add -a '[1, 1]' --countdown 3600 --queue parked | wc -c

say purge
celery -A proj purge -f -Q parked
celery -A proj purge -f -Q parked

say stop
celery multi stopwait 2 --pidfile=run/%n.pid --logfile=log/%n%I.log >stop.txt
echo "exit $?"
ls run
celery -A proj status -t 0.5 >none.txt 2>&1; echo "exit $?"
celery -A proj inspect ping -t 0.5 >none.txt 2>&1; echo "exit $?"
