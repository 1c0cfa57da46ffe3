"""After training: what one does with a trained encoder and a library of videos."""
