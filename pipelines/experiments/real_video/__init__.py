"""Real video: what an encoder learns of a robot's joints and of traffic signs, and r as action."""
