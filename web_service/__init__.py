"""What the HTTPS services of this project share: `iot_registry` and `operations`.

Sub-packages, inner to outer. Each may import only those named before it:

- `core`: refusals, principals, checks of bodies, admission of connections. Pure.
- `local`: what belongs to one process and machine: settings, clock, log, metrics, private files, API keys.
- `store`: transactions, group commit and migrations, on SQLite or PostgreSQL.
- `https`: accepting connections, with their bounds, deadlines and TLS; problem bodies.
- `web`: the table of routes, and the application and OpenAPI document that are made from it; long polls.
- `cli`: what commands share: output, failures, and the client of a JSON API.
"""
