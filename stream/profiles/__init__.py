"""The people who are known: their voices, kept in one file of the user's."""
