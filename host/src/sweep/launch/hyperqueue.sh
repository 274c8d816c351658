#!/bin/sh
# Needs a HyperQueue server (hq server start) and its workers (hq worker start, or hq alloc add).
exec hq submit --name @NAME@ --array 1-@WORKERS@ --cpus @THREADS@ -- @RUN@
