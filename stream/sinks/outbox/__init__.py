"""Events that wait for a receiver, in memory and on disk, across outages of receiver and process."""
