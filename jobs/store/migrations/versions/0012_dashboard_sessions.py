"""Dashboard sessions: who is signed in, by the digest of a cookie."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "dashboard_sessions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("dashboard_sessions_by_age", "dashboard_sessions", ["seen_at"], unique=False)


def downgrade() -> None:
    """Sign everybody out."""
    op.drop_index("dashboard_sessions_by_age", table_name="dashboard_sessions")
    op.drop_table("dashboard_sessions")
