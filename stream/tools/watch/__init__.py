"""A folder that is watched: every recording put into it is processed once."""
