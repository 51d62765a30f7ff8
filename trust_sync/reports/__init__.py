"""What this node reports to the operations service: its decisions and its live sessions.

Reports are off the path of authentications. Decisions stay in the module's log until the service has taken them, so
that no amount of them takes up memory here; what is lost nevertheless is counted, and reported.

Disk: `log_tail`, `position`. Network: `client`. `reporter` joins them.

May import `shared`, `dane_radius.dns` and `dane_radius.local`.
"""

from trust_sync.reports.client import ReportClient
from trust_sync.reports.metrics import ReportMetrics
from trust_sync.reports.position import PositionFile
from trust_sync.reports.reporter import LiveSession, Reporter

__all__ = ["LiveSession", "PositionFile", "ReportClient", "ReportMetrics", "Reporter"]
