"""What the scripts share: virtual environments, processes, and the little project that every tool runs."""
