"""A small client that sends audio of this machine to a node that listens on another one."""
