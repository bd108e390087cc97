"""Records in SQL. The only package that knows our tables, and SQLAlchemy."""
