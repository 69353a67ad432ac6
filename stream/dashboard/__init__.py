"""The page: a sink that draws streams and calls in a browser, and the report of a finished one.

`card.py` and `state.py` are pure: events in, what pages show out. `feed.py` wakes the pages, `security.py` decides who
may see them, `server.py` is the ASGI app, `sink.py` and `remote.py` feed it from a pipeline or from MQTT topics.
`recording.py`, `picture.py` and `report.py` draw what was heard into one file.
"""
