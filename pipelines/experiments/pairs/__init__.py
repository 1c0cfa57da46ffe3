"""Natural pairs that are no video: images, texts and sounds, each an experiment of its own."""
