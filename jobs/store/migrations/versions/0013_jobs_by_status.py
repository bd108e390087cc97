"""Jobs by project and status: what the dashboard counts and lists by."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    op.create_index("jobs_by_project_status", "jobs", ["project_id", "status", "seq"], unique=False)


def downgrade() -> None:
    """Count and list by reading all of a project's jobs again."""
    op.drop_index("jobs_by_project_status", table_name="jobs")
