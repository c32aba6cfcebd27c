"""The distributed mode as plain processes of one machine: what docker-compose.yml describes, without containers."""
