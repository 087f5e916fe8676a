-- Runs once, on an empty data folder: one database and one owner for Dagster, one for the warehouse.
\set ON_ERROR_STOP on
\getenv dagster_password DAGSTER_DB_PASSWORD
\getenv warehouse_password WAREHOUSE_DB_PASSWORD

CREATE ROLE dagster LOGIN PASSWORD :'dagster_password';
CREATE ROLE warehouse LOGIN PASSWORD :'warehouse_password';
CREATE DATABASE dagster OWNER dagster;
CREATE DATABASE warehouse OWNER warehouse;
REVOKE ALL ON DATABASE dagster, warehouse FROM PUBLIC;
