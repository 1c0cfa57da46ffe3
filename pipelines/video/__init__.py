"""Videos to pairs: index, schedule, decode, stream."""
