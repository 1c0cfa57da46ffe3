"""What re-using decoded frames, and mixing them less, costs in accuracy."""
