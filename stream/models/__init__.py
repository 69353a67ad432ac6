"""Models: the only room that knows torch. Importing the room itself does not import torch; its modules do."""
