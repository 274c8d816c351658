#!/bin/sh
# Submit with: sbatch THIS_FILE
# Partition, time and memory are your cluster's: add --partition, --time and --mem.
#SBATCH --job-name=@NAME@
#SBATCH --array=1-@WORKERS@
#SBATCH --cpus-per-task=@THREADS@
#SBATCH --requeue
# Two minutes before its time is over, a worker is asked to save its trial, which another one takes.
#SBATCH --signal=B:TERM@120
exec @RUN@
