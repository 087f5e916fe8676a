"""Sources whose data Fivetran, Airbyte or dlt already landed in a warehouse: read from there, not from the vendor."""
