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
