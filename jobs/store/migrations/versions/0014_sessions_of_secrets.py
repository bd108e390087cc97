"""Dashboard sessions: each hangs on the secret that it was opened with, so that rotating a key ends it."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Sign everybody out: with which secret they came in is not known."""
    _make_anew("key_digest")


def downgrade() -> None:
    """Sign everybody out again."""
    _make_anew("key_id")


def _make_anew(key: str) -> None:
    op.drop_index("dashboard_sessions_by_age", table_name="dashboard_sessions")
    op.drop_table("dashboard_sessions")
    op.create_table(
        "dashboard_sessions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column(key, sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("dashboard_sessions_by_age", "dashboard_sessions", ["seen_at"], unique=False)
