"""From sound to voices: what makes a recording of somebody, whether it is good enough, and whom a run knows."""
