"""Projects with an order, keys with scopes and several secrets, limits, permissions to ask a model."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make what is new, and move what was there into it."""
    _number_projects()
    _split_keys()
    op.create_table(
        "service_accounts",
        _seq(),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("service_accounts_by_project", "service_accounts", ["project_id", "seq"])
    op.create_table(
        "rate_limits",
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=512), nullable=False),
        sa.Column("limits", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "model"),
    )
    op.create_table(
        "project_quotas",
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("quotas", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project_id"),
    )
    op.create_table(
        "checkpoint_permissions",
        _seq(),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=512), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("model", "project_id"),
    )
    op.create_index("checkpoint_permissions_by_model", "checkpoint_permissions", ["model", "seq"])


def _number_projects() -> None:
    op.rename_table("projects", "old_projects")
    op.create_table(
        "projects",
        _seq(),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("archived_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.execute(
        "INSERT INTO projects (id, organization_id, name, created_at) "
        "SELECT id, organization_id, name, created_at FROM old_projects ORDER BY created_at, id"
    )
    op.drop_table("old_projects")


def _split_keys() -> None:
    """Give each key its own table of secrets, so that a rotated one may have two for a while."""
    op.create_table(
        "api_key_secrets",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("api_key_secrets_by_key", "api_key_secrets", ["key_id"])
    op.execute("INSERT INTO api_key_secrets (digest, key_id) SELECT digest, id FROM api_keys")
    op.rename_table("api_keys", "old_api_keys")
    op.create_table(
        "api_keys",
        _seq(),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("service_account_id", sa.String(length=64), nullable=True),
        sa.Column("hint", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("api_keys_by_project", "api_keys", ["project_id", "seq"])
    op.execute(
        "INSERT INTO api_keys "
        "(id, organization_id, project_id, hint, name, scopes, created_at, revoked_at) "
        "SELECT k.id, p.organization_id, k.project_id, k.hint, k.name, '[]', k.created_at, k.revoked_at "
        "FROM old_api_keys AS k JOIN projects AS p ON p.id = k.project_id "
        "ORDER BY k.created_at, k.id"
    )
    op.drop_table("old_api_keys")


def _seq() -> sa.Column[int]:
    return sa.Column(
        "seq",
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
        autoincrement=True,
        nullable=False,
    )
