"""The dashboard: streams and calls in a browser, live.

`card.py`, `wall.py` and what they import are pure: events in, views out. `feed.py` wakes the pages, `server.py` and
`page_connection.py` serve them, `sink.py` and `mqtt.py` feed the wall from a pipeline or from MQTT topics.
"""
