"""The ruler: labelled recordings through the same rooms as live sound, and what came of it.

`corpora` reads labels, `listening` runs recordings through the pipeline, `metrics` and `timeline` hold the figures,
`emotion`, `verification`, `identification` and `conversation` each answer one question, `plots` and `report` show it.
The scientific libraries behind it come with the extra `evaluate`.
"""
