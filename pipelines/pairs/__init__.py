"""Where pairs come from: tables of pairs (images, text, sound), or videos; a seam for both."""
