"""`tonewatch run FILE --sink csv:turns.csv`: one line of CSV for every turn that has ended."""

import csv

from stream.errors import SinkError


class CsvSink:
    def __init__(self, *, target, settings):  # the whole of `--sink`, and all settings
        self._path = target.removeprefix("csv:")

    async def __aenter__(self):
        try:
            self._file = open(self._path, "w", newline="", encoding="utf-8")
        except OSError as error:
            raise SinkError(f"cannot write {self._path!r} ({error.strerror}); name another file") from None
        csv.writer(self._file).writerow(["source", "speaker", "start_s", "end_s", "emotion"])
        return self

    async def __aexit__(self, *error):
        self._file.close()

    async def send(self, event):  # one event at a time, in order; may wait
        if event.type == "turn" and event.phase == "end":
            row = [event.source, event.speaker, event.start_s, event.end_s, event.emotion]
            csv.writer(self._file).writerow(row)
