"""Network listener: calls and streams over WebSockets and TCP into a running pipeline."""
