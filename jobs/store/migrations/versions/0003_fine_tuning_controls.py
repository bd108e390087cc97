"""Fine-tuning controls: a job remembers that it was asked to pause."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Ask nothing of the jobs that are there."""
    op.add_column(
        "jobs", sa.Column("is_pausing", sa.Boolean(), nullable=False, server_default=sa.false())
    )


def downgrade() -> None:
    """Forget it."""
    op.drop_column("jobs", "is_pausing")
