package bpf

import ("testing";"time";"fmt")

func TestSmoke(t *testing.T) {
	s := time.Now()
	l, err := New(Config{})
	if err != nil { t.Fatalf("%+v", err) }
	defer l.Close()
	fmt.Println("load", time.Since(s), l.ticks, l.Reasons())
	s = time.Now()
	if err := l.Open(4*time.Second); err != nil { t.Fatal(err) }
	fmt.Println("open", time.Since(s)); s = time.Now()
	if err := l.Renew(4*time.Second); err != nil { t.Fatal(err) }
	fmt.Println("renew", time.Since(s)); s = time.Now()
	l.grace.Wait()
	fmt.Println("grace", time.Since(s)); s = time.Now()
	l.Shut()
	fmt.Println(l.Renew(time.Second))
	s = time.Now()
	fmt.Println(len(l.Rows()), time.Since(s))
	fmt.Println(l.AddPort(1, ModeTarget))
	fmt.Println(l.SetRule(1, Rule{Watch:true, Bridge:1}))
	fmt.Println(l.Ports()[0].Gone)
	s = time.Now()
	for i:=0;i<65536;i++ { if ok,err:=l.PutRow(Row{Key:Key{Bridge:1,VLAN:5,MAC:[6]byte{2,0,0,byte(i>>16),byte(i>>8),byte(i)}},IfIndex:1}); !ok||err!=nil {t.Fatal(i,err)} }
	fmt.Println("fill", time.Since(s)); s = time.Now()
	fmt.Println(len(l.Rows()), time.Since(s))
	s = time.Now(); fmt.Println(l.Ask(), time.Since(s))
}
