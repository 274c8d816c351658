#!/bin/sh
# Starts workers on this machine, with GNU parallel where it is installed, else with xargs.
if parallel --version 2>/dev/null | grep -q '^GNU parallel'; then
    seq @WORKERS@ | parallel --quote --max-replace-args 0 --jobs @WORKERS@ --line-buffer @RUN@
else
    seq @WORKERS@ | xargs -P @WORKERS@ -I '{worker number}' @RUN@
fi
