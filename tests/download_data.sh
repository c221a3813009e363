#!/usr/bin/env bash
# The dry run of tools/download_data names every file that the loaders read, and touches nothing.
#   download_data.sh REPOSITORY
set -euo pipefail
cd "$1"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

plan=$(tools/download_data --dry-run --to "$folder/data" \
  elasticity airfoil_steady pipe plasticity darcy shapenet_car)
for path in Geo-FNO/elasticity/Meshes/Random_UnitCell_{sigma,XY}_10.npy \
  Geo-FNO/airfoil/naca/NACA_Cylinder_{X,Y,Q}.npy Geo-FNO/pipe/Pipe_{X,Y,Q}.npy \
  Geo-FNO/plasticity/plas_N987_T20.mat FNO/darcy/piececonst_r421_N1024_smooth{1,2}.mat \
  ShapeNet-Car/mlcfd_data/training_data/param8; do
  grep -qF "$folder/data/$path" <<<"$plan" || { echo "the plan lacks $path:"; echo "$plan"; exit 1; }
done
for source in drive.google.com nobuyuki-umetani.com; do
  grep -q "$source" <<<"$plan" || { echo "the plan does not name $source"; exit 1; }
done
[ ! -e "$folder/data" ] || { echo "the dry run wrote files"; exit 1; }
