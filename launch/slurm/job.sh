# Sourced by pipeline.sbatch and sweep.sbatch, in the batch shell of a job: the launchers, the stop, the requeue.
source "$scripts/site.sh"

# cirn_job VERB ARGUMENTS...: run `cirn-dist VERB ARGUMENTS` on the job's nodes, one launcher on each, and see it
# through. Returns 0 when the run has finished, 75 when it was stopped and saved and is not requeued, else its error.
cirn_job() {
  local run="" ranks launcher address port step asked=no code=0
  unset SLURM_EXPORT_ENV # else srun hands on what sbatch's --export did, and not what is set here
  use_site "$SLURM_JOB_NAME" || return
  trap 'asked=yes; stop_run "$run"' USR1 # its time is nearly up, or another job goes first
  trap 'stop_run "$run"' TERM            # cancelled: save, and do not come back
  # Here first: a misspelt configuration ends the job now, with one line.
  run=$(on_one_node "${program[@]}" "$@" --dry-run) || return
  run=$(head -1 <<< "$run")
  [[ $run = /* ]] || run=$PWD/$run
  ranks=${SLURM_GPUS_ON_NODE:-1} # a rank for every GPU, or one for the node's CPUs
  [ -n "${SLURM_GPUS_ON_NODE:-}" ] || export ACCELERATE_USE_CPU=true
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((${SLURM_CPUS_PER_TASK:-1} > ranks ? SLURM_CPUS_PER_TASK / ranks : 1))}
  # A launcher that is signalled passes it on, and leaves its ranks the time to save.
  export PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGUSR1 PET_SHUTDOWN_TIMEOUT=${PET_SHUTDOWN_TIMEOUT:-300}
  export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 # started again in one store, ranks may find the addresses of those before them

  launcher=("${program[@]}")
  if ((SLURM_NNODES * ranks > 1)); then
    address=$(address_of "$SLURMD_NODENAME") port=$(free_port)
    export PET_RDZV_ENDPOINT=$address:$port # on one node accelerate would leave it at torchrun's default port
    launcher=("${program[@]:0:${#program[@]}-1}" accelerate launch --multi_gpu --mixed_precision no --dynamo_backend no
      --num_machines "$SLURM_NNODES" --num_processes $((SLURM_NNODES * ranks))
      # c10d starts a group again after a crash; with the static rendezvous it would hang.
      --max_restarts 3 --rdzv_backend c10d --main_process_ip "$address" --main_process_port "$port"
      # c10d numbers the machines itself. Not 0, which makes accelerate insist that nobody listens at the port yet.
      --machine_rank 1 -m cirn_dist)
  fi

  [ "$asked" = no ] || stop_run "$run"
  echo "$SLURM_JOB_NAME: $run on $SLURM_NNODES x $ranks ranks, start $((${SLURM_RESTART_COUNT:-0} + 1))"
  srun --ntasks="$SLURM_NNODES" --ntasks-per-node=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK} \
    "${srun_options[@]}" "${launcher[@]}" "$@" &
  step=$!
  while
    wait "$step" && code=0 || code=$?
    kill -0 "$step" 2> /dev/null # then a trap has ended the wait, not the step
  do :; done
  trap '' USR1 # and from here on a requeue's own SIGTERM must not ask the next start to stop
  trap - TERM
  rm -f "$run/STOP"

  ls "$run" > /dev/null 2>&1 || : # another machine wrote what is looked for next: NFS reads the folder again
  [ -e "$run/PREEMPTED" ] || return "$code"
  if [ "$asked" = yes ]; then
    echo "$SLURM_JOB_NAME: $(tail -1 "$run/PREEMPTED"); requeued"
    scontrol requeue "$SLURM_JOB_ID" && sleep 60 # until SLURM ends this shell
  fi
  return $((code ? code : 75))
}

# stop_run RUN: nothing yet while the folder is not known.
stop_run() {
  [ -z "$1" ] || { mkdir -p "$1" && touch "$1/STOP"; }
}

# What SLURM itself reaches a node by.
address_of() {
  scontrol show node "$1" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p'
}

# A port of this node that nobody listens at, from one on that follows from the job's number.
free_port() {
  local port=$((20000 + SLURM_JOB_ID % 20000))
  while (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do port=$((port + 1)); done
  echo "$port"
}
