"""Everything that meets the world: videos, files, Ray, MLflow, the command line."""
