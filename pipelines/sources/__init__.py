"""Data sets: each writes or reads real files that the index then takes up."""
