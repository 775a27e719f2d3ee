"""Speed and memory, always as ratios or differences against a peer in the same run."""
