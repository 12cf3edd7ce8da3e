#!/bin/sh
# Stands in for the server program: attaches perf to itself, then becomes the server. perf ends with it.
#
#   SILO_PROFILE_SERVER   the program to become
#   SILO_PROFILE_DIR      where perf.<pid>.data and perf.<pid>.log go
#   SILO_PROFILE_HZ       samples per second of CPU time (default 199)
#
# No hardware counters are needed: the event is cpu-clock. Stacks are unwound from DWARF, since neither our code nor
# the engine's keeps frame pointers.
set -eu
data=$SILO_PROFILE_DIR/perf.$$.data
perf record --quiet --event cpu-clock --freq "${SILO_PROFILE_HZ:-199}" --call-graph dwarf,16384 --pid $$ \
    --output "$data" >"$SILO_PROFILE_DIR/perf.$$.log" 2>&1 </dev/null &
echo $! >"$SILO_PROFILE_DIR/perf.$$.pid"
tries=0
while [ ! -s "$data" ] && [ $tries -lt 100 ]; do # perf makes the file when it is about to attach
    sleep 0.05
    tries=$((tries + 1))
done
sleep 0.2
exec "$SILO_PROFILE_SERVER" "$@"
