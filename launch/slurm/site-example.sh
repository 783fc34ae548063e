# What a site needs around every command and no script can know. Copy it to ~/.config/cirn-dist/site.sh, or to
# cirn-site.sh in the folder that jobs are submitted from, or name its copy in CIRN_SITE. The scripts of launch/slurm
# source it in the job's shell on its first node, before anything else; srun hands the variables it exports to every
# rank. It is found as well where jobs get no environment (sbatch --export=NONE, SBATCH_EXPORT=NONE).

# Modules and the environment that has cirn-dist. A shell without an environment may not know `module` yet.
# source /etc/profile.d/modules.sh
# module load cuda/12.6 python/3.11
# source /shared/venvs/cirn/bin/activate

# Words put before every cirn-dist and accelerate: a container's image has them then, the host need not.
# CIRN_PREFIX="apptainer exec --nv --bind /shared /shared/images/cirn.sif"

# Options for every srun, e.g. pyxis's; cirn-dist is then looked for in the image.
# CIRN_SRUN="--container-image=/shared/images/cirn.sqsh --container-mounts=/shared:/shared --container-workdir=$PWD"

# The interface that ranks of several nodes meet and send by, where SLURM's own is a slow management network; `ip -br -4
# address` lists a node's, cirn-dist doctor too. NCCL itself finds InfiniBand cards; these variables of its own help
# where it does not, and NCCL_DEBUG=INFO says what it has found.
# CIRN_INTERFACE=ib0
# export NCCL_IB_HCA=mlx5_0,mlx5_1   # use these cards alone
# export NCCL_IB_DISABLE=1           # use none, only the interface
