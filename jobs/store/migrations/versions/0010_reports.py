"""Reports: a job that has succeeded waits for its comparison with the base."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let the jobs that are over stay as they are: none of them waits for a report."""
    op.add_column("jobs", sa.Column("report_status", sa.String(length=16), nullable=True))
    op.create_index("jobs_by_report", "jobs", ["report_status", "seq"], unique=False)


def downgrade() -> None:
    """Forget which reports are open; those that were made are files."""
    op.drop_index("jobs_by_report", table_name="jobs")
    op.drop_column("jobs", "report_status")
