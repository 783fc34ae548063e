# Sourced by pipeline.sbatch and sweep.sbatch, in the batch shell of a job: the launchers, the stop, the requeue.
source "$scripts/site.sh"

# cirn_job VERB ARGUMENTS...: run `cirn-dist VERB ARGUMENTS` on the job's nodes, one launcher on each, and see it
# through. Returns 0 when the run has finished, 75 when it was stopped and saved and is not requeued, else its error.
cirn_job() {
  local run="" ranks launcher address port logs step asked=no code=0
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
    address=$(address_here) || return
    port=$(free_port) logs=$(log_of_job)-ranks
    mkdir -p "$logs"
    [ -z "${CIRN_INTERFACE:-}" ] || export NCCL_SOCKET_IFNAME=$CIRN_INTERFACE GLOO_SOCKET_IFNAME=$CIRN_INTERFACE
    export PET_RDZV_ENDPOINT=$address:$port # on one node accelerate would leave it at torchrun's default port
    launcher=("${program[@]:0:${#program[@]}-1}" accelerate launch --multi_gpu --mixed_precision no --dynamo_backend no
      --num_machines "$SLURM_NNODES" --num_processes $((SLURM_NNODES * ranks))
      # c10d starts a group again after a crash; with the static rendezvous it would hang.
      --max_restarts 3 --rdzv_backend c10d --main_process_ip "$address" --main_process_port "$port"
      # c10d numbers the machines itself. Not 0, which makes accelerate insist that nobody listens at the port yet.
      --machine_rank 1 --no_python bash -c "$logged_rank" "$logs" cirn-dist)
  fi

  [ "$asked" = no ] || stop_run "$run"
  echo "$SLURM_JOB_NAME: $run on $SLURM_NNODES x $ranks ranks, start $((${SLURM_RESTART_COUNT:-0} + 1))${logs:+; $logs}"
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

# What a rank is started by, given the folder of the logs: every line it prints goes to the job's log with its number
# before it, and to a file of its own. Signals that are sent to all processes of a job must leave its last lines a way.
logged_rank='exec > >(trap "" INT TERM USR1 HUP; sed -uE "s/^(\[rank [0-9]+\] )?/[rank $RANK] /" |'
logged_rank+=' tee -a "$0/rank-$RANK.log") 2>&1; exec "$@"'

# The job's log, without the ending .log.
log_of_job() {
  local log
  log=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's|^ *StdOut=\(/.*\)|\1|p')
  [[ -n $log && $log != *%* ]] || log=$PWD/$SLURM_JOB_NAME-$SLURM_JOB_ID
  echo "${log%.log}"
}

# The address that ranks meet at: this node's on CIRN_INTERFACE, or else what SLURM itself reaches it by.
address_here() {
  local found
  if [ -n "${CIRN_INTERFACE:-}" ]; then
    found=$(PATH=$PATH:/usr/sbin:/sbin ip -o -4 address show dev "$CIRN_INTERFACE" 2> /dev/null |
      sed -n '1s|.* inet \([^/ ]*\).*|\1|p')
  else
    found=$(scontrol show node "$SLURMD_NODENAME" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
  fi
  [ -n "$found" ] || {
    echo "$SLURM_JOB_NAME: $SLURMD_NODENAME has no address${CIRN_INTERFACE:+ on CIRN_INTERFACE=$CIRN_INTERFACE}" >&2
    return 1
  }
  echo "$found"
}

# A port of this node that nobody listens at, from one on that follows from the job's number.
free_port() {
  local port=$((20000 + SLURM_JOB_ID % 20000))
  while (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do port=$((port + 1)); done
  echo "$port"
}
