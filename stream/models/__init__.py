"""Models: the only package that uses torch. Importing the package does not import torch; its modules do."""
