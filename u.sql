update c set n=n+1;
update c set n=n+1;
update c set n=n+1;
update c set n=n+1;
update c set n=n+1;
update c set n=n+1;
