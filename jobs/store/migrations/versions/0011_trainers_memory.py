"""Trainers' memory: a worker says how much there is, so that a job that fits nowhere is refused."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Know nothing of the workers that are there: they tell with their next sign of life."""
    op.add_column("workers", sa.Column("trainer", sa.Text(), nullable=True))


def downgrade() -> None:
    """Forget it."""
    op.drop_column("workers", "trainer")
