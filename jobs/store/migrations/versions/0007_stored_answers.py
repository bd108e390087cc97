"""stored_answers."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of answers that their askers asked to keep."""
    op.create_table(
        "chat_completions",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=512), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("completion", sa.Text(), nullable=False),
        sa.Column("messages", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.create_index(
        "chat_completions_by_project", "chat_completions", ["project_id", "seq"], unique=False
    )
    op.create_index(
        "chat_completions_by_model",
        "chat_completions",
        ["project_id", "model", "seq"],
        unique=False,
    )
    op.create_index("chat_completions_by_time", "chat_completions", ["created_at"], unique=False)
    op.create_table(
        "responses",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("previous_id", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("response", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("responses_by_time", "responses", ["created_at"], unique=False)
    op.create_table(
        "response_items",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("response_id", sa.String(length=64), nullable=False),
        sa.Column("is_output", sa.Boolean(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index(
        "response_items_by_response", "response_items", ["response_id", "seq"], unique=False
    )
    op.create_index("response_items_by_id", "response_items", ["project_id", "id"], unique=False)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("response_items_by_id", table_name="response_items")
    op.drop_index("response_items_by_response", table_name="response_items")
    op.drop_table("response_items")
    op.drop_index("responses_by_time", table_name="responses")
    op.drop_table("responses")
    op.drop_index("chat_completions_by_time", table_name="chat_completions")
    op.drop_index("chat_completions_by_model", table_name="chat_completions")
    op.drop_index("chat_completions_by_project", table_name="chat_completions")
    op.drop_table("chat_completions")
