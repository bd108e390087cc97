"""The dashboard: pages for people. It shows nothing that the API cannot give, and does nothing that it cannot do."""
