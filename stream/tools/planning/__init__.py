"""Planning: how many machines a number of lines needs, from measured figures of one machine."""
